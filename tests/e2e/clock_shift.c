// A wall clock that jumps, for one process: preloaded, it moves CLOCK_REALTIME by the seconds that
// the file in CLOCK_SHIFT holds (8 bytes, mapped: a change counts at once); with CLOCK_SHIFT_ALL
// the monotonic clock, too, as time that passes would. libfaketime does not
// get along with the allocator of redis-server.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *shift;
static int shifts_all;

__attribute__((constructor)) static void map_shift(void) {
  const char *name = getenv("CLOCK_SHIFT");
  shifts_all = getenv("CLOCK_SHIFT_ALL") != NULL;
  const int fd = name == NULL ? -1 : open(name, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  void *at = mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, fd, 0);
  if (at != MAP_FAILED) shift = at;
  close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *out) {
  const int result = (int)syscall(SYS_clock_gettime, clock, out);
  const int wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
  if (result == 0 && (wall || shifts_all) && shift != NULL) out->tv_sec += *shift;
  return result;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
  (void)zone;
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
  out->tv_sec = now.tv_sec;
  out->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out != NULL) *out = now.tv_sec;
  return now.tv_sec;
}

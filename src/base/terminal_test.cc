#include "base/terminal.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace merlon {
namespace {

TEST(Colour, IsNotForPipesNorAgainstTheUsersWill) {
  int pipe_ends[2] = {};
  ASSERT_EQ(::pipe(pipe_ends), 0);
  EXPECT_FALSE(wants_color(pipe_ends[1]));
  ::close(pipe_ends[0]);
  ::close(pipe_ends[1]);
}

}  // namespace
}  // namespace merlon

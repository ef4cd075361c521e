#pragma once

namespace merlon {

/// Deleter of std::unique_ptr for objects of C libraries: `std::unique_ptr<BIO,
/// FreeWith<BIO_free>>`.
template <auto Free>
struct FreeWith {
  template <class T>
  void operator()(T* object) const noexcept {
    Free(object);
  }
};

}  // namespace merlon

#pragma once

#include <string>

namespace merlon::audit {

/// The permission bits of a file or folder that everyone may write and that lies where packages and
/// administrators put what is in force (/etc, /usr, /opt), however `path` is spelled; 0 otherwise.
/// A checkout elsewhere says nothing about modes.
[[nodiscard]] unsigned mode_open_to_all(const std::string& path);

}  // namespace merlon::audit

# The flags that every room shares. Assertions stay on in release: a broken invariant must not write wrong data.
add_library(walferry_flags INTERFACE)
target_compile_options(walferry_flags INTERFACE
  -Wall -Wextra -Wconversion -Wshadow -Wcast-qual -Wformat=2 -Wstrict-prototypes
  -Wmissing-prototypes -Wvla -Wwrite-strings -Wundef -Werror -fno-strict-aliasing)
target_compile_definitions(walferry_flags INTERFACE _GNU_SOURCE WALFERRY_VERSION="${PROJECT_VERSION}")
set(CMAKE_C_FLAGS_RELEASE "-O2 -g")

if(WALFERRY_FAULTS)
  target_compile_definitions(walferry_flags INTERFACE WALFERRY_FAULTS=1)
endif()
if(WALFERRY_SANITIZE)
  target_compile_options(walferry_flags INTERFACE -fsanitize=${WALFERRY_SANITIZE}
    -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(walferry_flags INTERFACE -fsanitize=${WALFERRY_SANITIZE})
endif()
if(WALFERRY_COVERAGE)
  target_compile_options(walferry_flags INTERFACE --coverage)
  target_link_options(walferry_flags INTERFACE --coverage)
endif()

# Every library is found by pkg-config; a missing one is answered with the Debian package to install.
find_package(PkgConfig REQUIRED)

function(walferry_package target module debian)
  pkg_check_modules(${target} QUIET IMPORTED_TARGET GLOBAL ${module})
  if(NOT ${target}_FOUND)
    message(FATAL_ERROR "${module} is missing\n  hint: apt-get install ${debian}")
  endif()
endfunction()

walferry_package(libpq "libpq >= 14" libpq-dev)
walferry_package(yaml yaml-0.1 libyaml-dev)
walferry_package(jansson "jansson >= 2.12" libjansson-dev)
walferry_package(lz4 liblz4 liblz4-dev)
walferry_package(rdkafka "rdkafka >= 2.0" librdkafka-dev)
walferry_package(xxhash libxxhash libxxhash-dev)
walferry_package(libcurl "libcurl >= 7.85" libcurl4-openssl-dev)

find_path(UTHASH_INCLUDE uthash.h)
if(NOT UTHASH_INCLUDE)
  message(FATAL_ERROR "uthash.h is missing\n  hint: apt-get install uthash-dev")
endif()
if(WALFERRY_TESTS)
  walferry_package(cmocka cmocka libcmocka-dev)
  walferry_package(avro avro-c libavro-dev) # reads back what proto/avro writes
endif()

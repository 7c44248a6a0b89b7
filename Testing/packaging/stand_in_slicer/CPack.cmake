# Slicer's own refuses an extension without these two files, and writes what the catalogue shows. This one writes the
# same facts, a line each, for the tests to read.

foreach(file IN ITEMS "${EXTENSION_README_FILE}" "${EXTENSION_LICENSE_FILE}")
  if(NOT EXISTS "${file}")
    message(FATAL_ERROR "there is no ${file}")
  endif()
endforeach()

set(facts "NAME ${PROJECT_NAME}\n")
foreach(fact IN ITEMS HOMEPAGE CATEGORY CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  string(APPEND facts "${fact} ${EXTENSION_${fact}}\n")
endforeach()
file(WRITE "${CMAKE_BINARY_DIR}/facts.txt" "${facts}")

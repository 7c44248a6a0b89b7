# What Slicer's own does to files:
#
# - a script or resource is named from the folder of the CMakeLists.txt that calls, keeps its sub-folders, and goes to
#   qt-scripted-modules of the build tree, WITH_SUBDIR into a folder there that is named after the calling folder;
# - ".py" is added to a script without it; a file that is not there, no script, or an unknown keyword is an error;
# - what is installed is not the list but the folder of the build tree: all of qt-scripted-modules, or the one folder.
#
# What it does besides and this does not: byte code (it installs .pyc files too), translations, generic tests, launcher
# settings, and on macOS another prefix (Slicer.app/Contents/Extensions-N/MedGAN).

include(CTest)

set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR "./${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")

function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MODULE "WITH_SUBDIR;WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MODULE_UNPARSED_ARGUMENTS OR NOT MODULE_NAME OR NOT MODULE_SCRIPTS)
    message(FATAL_ERROR "a scripted module wants NAME and SCRIPTS, and does not know: ${MODULE_UNPARSED_ARGUMENTS}")
  endif()

  set(folder "${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")
  set(installed "${folder}/")
  if(MODULE_WITH_SUBDIR)
    get_filename_component(name "${CMAKE_CURRENT_SOURCE_DIR}" NAME)
    set(folder "${folder}/${name}")
    set(installed "${folder}")
  endif()

  list(TRANSFORM MODULE_SCRIPTS REPLACE "^([^.]+)$" "\\1.py")
  foreach(file IN LISTS MODULE_SCRIPTS MODULE_RESOURCES)
    if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
      message(FATAL_ERROR "${MODULE_NAME}: there is no ${file}")
    endif()
    add_custom_command(
      OUTPUT "${folder}/${file}"
      COMMAND "${CMAKE_COMMAND}" -E copy "${CMAKE_CURRENT_SOURCE_DIR}/${file}" "${folder}/${file}"
      DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${file}"
    )
    list(APPEND copies "${folder}/${file}")
  endforeach()
  add_custom_target(Copy${MODULE_NAME}PythonFiles ALL DEPENDS ${copies})
  install(DIRECTORY "${installed}" DESTINATION "${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}")
endfunction()

# Slicer's own runs the unit tests of the named file inside Slicer.
function(slicer_add_python_unittest)
  cmake_parse_arguments(TEST "" "SCRIPT" "" ${ARGN})
  get_filename_component(name "${TEST_SCRIPT}" NAME_WE)
  add_test(NAME "py_${name}" COMMAND Slicer --testing "${CMAKE_CURRENT_SOURCE_DIR}/${TEST_SCRIPT}")
endfunction()

"""What every stage rests on: parameters, command line, files, errors, seeds. Starts in no time."""

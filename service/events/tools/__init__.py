"""One file for each tool whose output is understood; recognised from the output, never from the command."""

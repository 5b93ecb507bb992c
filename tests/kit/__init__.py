"""What tests build with: packages, signed archives, small systems, awkward servers."""

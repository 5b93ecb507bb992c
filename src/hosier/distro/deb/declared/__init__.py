"""Bring packages to the state that their maintainer scripts would: the scripts are read and never run."""

"""Build roots of the RPM family."""

"""A folder of packages as repositories that apt and dnf read."""

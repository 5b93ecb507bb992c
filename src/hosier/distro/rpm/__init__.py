"""The RPM family: package files, versions, repositories and the database of installed packages."""

"""What is particular to one family of distributions, each in a package of its own."""

"""Write a tree as a shippable thing: one module for each format, from a manifest and the tree's files."""

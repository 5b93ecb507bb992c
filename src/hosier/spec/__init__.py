"""What is wanted (a spec) and what exactly that is (a lock): models, readers, rules. Nothing here runs anything."""

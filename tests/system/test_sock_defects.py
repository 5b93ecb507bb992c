"""What was wrong with the first SOCK, by number, and the tests that show each thing mended."""

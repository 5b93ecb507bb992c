"""The only door to the network: objects fetched whole, from several origins, with progress."""

"""Items: which URLs are an item's investigation, a request or a search, and which identifier they carry."""

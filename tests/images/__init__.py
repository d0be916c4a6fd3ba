"""Pictures: dialects, dialogues, masks, forms, and the fetcher of what replies point at."""

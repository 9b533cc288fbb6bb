"""The schema's history: released revisions are never edited, and know nothing of the code that came after them."""

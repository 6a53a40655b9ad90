"""Privacy audit: what each observer of a federation can infer about people, measured on what that observer sees."""

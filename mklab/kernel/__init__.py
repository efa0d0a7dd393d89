"""The host kernel's side of the RFC, in modules named after Linux's own files."""

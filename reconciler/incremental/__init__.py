"""What is kept from one run to the next: structure that is shared, work that is memoised."""

"""What leaves the project: the champion's choice, its card, and answers to requests for a genre."""

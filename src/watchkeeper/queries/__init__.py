"""The catalogue of questions: each is one function that every face asks in the same way."""

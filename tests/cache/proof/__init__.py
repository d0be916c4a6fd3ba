"""Does the promise hold? Streams of requests of which it is known which mean the same (see ``sentences``)."""

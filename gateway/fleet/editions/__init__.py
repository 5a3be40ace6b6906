"""The catalogue in force, edition by edition: what the files say, with what operators have edited on top."""

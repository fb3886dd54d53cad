"""The commands: each module parses, calls the room that does the work, prints. Heavy imports wait inside the bodies."""

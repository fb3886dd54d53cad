"""Chemical rule sets: which molecules of an enumeration are kept, one named rule each (docs/rules.md)."""

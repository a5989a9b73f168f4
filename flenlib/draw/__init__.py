"""Drawing one picture at a time, so that a killed run goes on without losing or repeating any."""

"""The widgets a person labels pictures in; they only collect decisions."""

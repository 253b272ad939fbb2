"""What Torpor promises, by what a test proves: unit, conformance, integration, faults, simulation, tidy."""

"""The tests, by what they prove: unit, conformance, integration, faults, simulation, tidy."""

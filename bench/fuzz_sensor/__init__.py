"""Coverage-guided fuzzing of everything in the sensor that reads what an attacker wrote."""

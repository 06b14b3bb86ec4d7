"""Models scored where the data is: compiled to SQL and compared with the Python model before a row is written."""

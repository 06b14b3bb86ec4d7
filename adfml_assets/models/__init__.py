"""The life of a model version after its training: judged by the gate, promoted, rolled back."""

//! The control plane: sources to one model to what each proxy needs, pushed.

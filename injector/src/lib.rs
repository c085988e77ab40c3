//! Automatic injection: one pure function from a pod template to an injected one, its webhook, and the same on files.

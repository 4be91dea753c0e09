//! The functions of a 5G core as their consumers see them.

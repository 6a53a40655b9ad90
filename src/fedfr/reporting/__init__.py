"""What people look at: progress while a run works, tables when it is done."""

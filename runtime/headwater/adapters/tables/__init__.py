"""What snapshot tables of any format do with their files, wherever these are kept."""

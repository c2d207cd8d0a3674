"""Tables of Parquet files and manifests; the files themselves, which other formats have too."""

//! What the fuzz targets share: how input is cut, and drivers for the sessions.

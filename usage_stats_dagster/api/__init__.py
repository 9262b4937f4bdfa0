"""Figures by HTTP: LA Referencia's four reports and iDigBio's summary, from whichever index the settings name."""

"""What people and programs are shown: tables, the status screen, one trial's page. Pure functions of plain values."""

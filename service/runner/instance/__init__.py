"""How to reach an instance and what runs there. It knows no journal and no job."""

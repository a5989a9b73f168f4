"""What leaves the kit: LoRAs under other trainers' names."""

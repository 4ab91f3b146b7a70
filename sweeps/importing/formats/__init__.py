"""One file for each format of logs. It has what `log.Format` asks for, and is found by lying here."""

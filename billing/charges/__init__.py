"""What a job holds, is charged and gets back; and the record of it that every report and invoice reads."""

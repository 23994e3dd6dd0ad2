"""What is taken from others and given to them: public data sets, the hub of Hugging Face, files for other libraries."""

"""The paper's figures as drawings, one file for each: what they show is computed elsewhere, here it is laid out."""

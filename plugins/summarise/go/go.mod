module summarise

go 1.27
